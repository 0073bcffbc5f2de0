// Validates an AsyncAPI document with @asyncapi/parser: node asyncapi.mjs NODE_MODULES FILE. Exit 1 with what is wrong.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, file] = process.argv.slice(2);
const { Parser } = createRequire(`${modules}/`)("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file });
const wrong = diagnostics.filter((each) => each.severity === 0);
for (const each of wrong) console.error(`${each.path.join("/")}: ${each.message}`);
if (!document || wrong.length) process.exit(1);
console.log(`${document.channels().all().length} channels, ${document.allMessages().all().length} messages`);
