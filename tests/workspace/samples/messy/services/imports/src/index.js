export default { fetch() { return new Response("imports"); } };
