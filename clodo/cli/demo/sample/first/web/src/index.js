// Pages come from the static assets; everything under /api/ goes to the api Worker.
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const source = pathname.startsWith("/api/") ? env.API : env.ASSETS;
    const answer = await source.fetch(request);
    const passed = new Response(answer.body, answer);
    passed.headers.set("x-web-version", env.VERSION.id);
    return passed;
  },
};
