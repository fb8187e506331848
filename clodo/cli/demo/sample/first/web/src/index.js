// Static pages come from the assets; everything under /api/ goes to the api Worker.
export default {
  async fetch(request, env) {
    const answer = await env.API.fetch(request);
    const passed = new Response(answer.body, answer);
    passed.headers.set("x-web-version", env.VERSION.id);
    return passed;
  },
};
