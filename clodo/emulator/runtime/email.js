// What `cloudflare:email` needs and workerd by itself lacks: the message that a Worker makes to send or reply with.
class EmailMessage {
  constructor(from, to, raw) {
    Object.assign(this, { from, to, raw });
  }
}

export default { EmailMessage };
