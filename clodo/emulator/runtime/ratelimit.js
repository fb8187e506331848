// The rate limiting binding: fixed windows, counted in this process only, as on Cloudflare in one location only.
export default function ({ limit, period }) {
  const windows = new Map();
  return {
    async limit({ key }) {
      const now = Math.floor(Date.now() / (period * 1000));
      const [window, count] = windows.get(key) ?? [now, 0];
      const used = window === now ? count : 0;
      if (used >= limit) return { success: false };
      windows.set(key, [now, used + 1]);
      return { success: true };
    },
  };
}
