export default { fetch() { return new Response("geo"); } };
