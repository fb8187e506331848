export default { fetch() { return new Response("returns"); } };
