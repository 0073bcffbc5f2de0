// The same question from Node.js, over the sidecar's Unix socket: may this host use the product?
//
//     node examples/your-application/app.mjs acme.tenantry.example confluence
import http from "node:http";

const [host, product] = process.argv.slice(2);
const socketPath = `${process.env.TENANCY_DIR ?? "/run/tenancy"}/sidecar.sock`;

http.get({ socketPath, path: `/v1/hosts/${encodeURIComponent(host)}` }, (answer) => {
  let body = "";
  answer.on("data", (piece) => (body += piece));
  answer.on("end", () => {
    const told = JSON.parse(body);
    if (answer.statusCode !== 200) {
      console.log(`refused: ${told.code}`); // no context, no access
    } else if (told.access !== "open" || told.products[product]?.level !== "open") {
      console.log(`${told.tenant_id} is closed`);
    } else {
      console.log(`${told.tenant_id} is open, as of ${answer.headers["tenancy-position"]}`);
    }
  });
}).on("error", () => console.log("refused: no sidecar answers"));
