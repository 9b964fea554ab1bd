// Reads AsyncAPI documents with the official parser, and prints what it finds in each, or what is wrong with it.
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";

const parser = new Parser();
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  const messages = document?.allMessages().all() ?? [];
  console.log(
    JSON.stringify({
      version: document?.version(),
      channels: document?.channels().all().map((each) => each.address()),
      messages: messages.map((each) => each.name()),
      // Information, such as that there is a newer version of AsyncAPI, is severity 2.
      wrong: diagnostics.filter((each) => each.severity < 2).map((each) => `${each.path.join("/")}: ${each.message}`),
    }),
  );
}
