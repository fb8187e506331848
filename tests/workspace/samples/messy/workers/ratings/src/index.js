export default { fetch() { return new Response("ratings"); } };
