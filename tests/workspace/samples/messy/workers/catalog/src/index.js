export default { fetch() { return new Response("catalog"); } };
