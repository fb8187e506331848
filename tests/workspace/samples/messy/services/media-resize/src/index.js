export default { fetch() { return new Response("media-resize"); } };
