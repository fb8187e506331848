export default { fetch() { return new Response("reports"); } };
