export default { fetch() { return new Response("data-service"); } };
