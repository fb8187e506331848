export default { fetch() { return new Response("payments"); } };
