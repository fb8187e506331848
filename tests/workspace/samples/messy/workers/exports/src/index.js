export default { fetch() { return new Response("exports"); } };
