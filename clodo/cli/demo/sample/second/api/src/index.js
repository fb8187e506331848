// What the website may ask: members live in auth, visits here, the newest member's id in KV.
export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/health")) return health(env);
    if (pathname === "/api/members" && request.method === "POST") return signUp(request, env);
    if (pathname === "/api/members/count") {
      return reply(env, await env.AUTH.fetch("https://auth/members/count"));
    }
    return new Response("Not found", { status: 404, headers: { "x-api-version": env.VERSION.id } });
  },
};

async function signUp(request, env) {
  const { name } = await request.json();
  const id = crypto.randomUUID();
  const answer = await env.AUTH.fetch("https://auth/members", {
    method: "POST",
    body: JSON.stringify({ id, name }),
  });
  if (answer.status !== 201) return reply(env, answer);
  await env.DB.prepare("INSERT INTO visits (member) VALUES (?)").bind(id).run();
  await env.CACHE.put("newest", id, { expirationTtl: 3600 });
  return reply(env, answer);
}

async function health(env) {
  const auth = await env.AUTH.fetch("https://auth/health");
  const { status } = await auth.json();
  await env.DB.prepare("SELECT count(*) FROM visits").first();
  await env.CACHE.get("newest");
  const body = { status: "ok", auth: status };
  return Response.json(body, { status: auth.status, headers: { "x-api-version": env.VERSION.id } });
}

function reply(env, answer) {
  const passed = new Response(answer.body, answer);
  passed.headers.set("x-api-version", env.VERSION.id);
  return passed;
}
