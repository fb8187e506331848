export default { fetch() { return new Response("orders"); } };
