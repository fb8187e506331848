// Keeps the members, each signed with a key that only this Worker has.
import { sign } from "./sign.js";

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const headers = { "x-auth-version": env.VERSION.id };
    if (url.pathname === "/health") {
      const { ok } = await env.DB.prepare("SELECT 1 AS ok FROM (SELECT count(*) FROM members)").first();
      const healthy = ok === 1 && typeof env.SIGNING_KEY === "string" && env.SIGNING_KEY.length > 0;
      return Response.json({ status: healthy ? "ok" : "unhealthy" }, { status: healthy ? 200 : 503, headers });
    }
    if (url.pathname === "/members" && request.method === "POST") {
      const { id, name } = await request.json();
      const signature = await sign(env.SIGNING_KEY, `${id}:${name}`);
      await env.DB.prepare("INSERT INTO members (id, name, signature, plan) VALUES (?, ?, ?, ?)").bind(id, name, signature, "free").run();
      return Response.json({ id, signature, plan: "free" }, { status: 201, headers });
    }
    if (url.pathname === "/members/count") {
      return Response.json(await env.DB.prepare("SELECT count(*) AS count FROM members").first(), { headers });
    }
    return new Response("Not found", { status: 404, headers });
  },
};
