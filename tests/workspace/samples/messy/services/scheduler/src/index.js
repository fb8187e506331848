export default { fetch() { return new Response("scheduler"); } };
