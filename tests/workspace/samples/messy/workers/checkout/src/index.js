export default { fetch() { return new Response("checkout"); } };
