export default { fetch() { return new Response("invoices"); } };
