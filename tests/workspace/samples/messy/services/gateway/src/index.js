export default { fetch() { return new Response("gateway"); } };
