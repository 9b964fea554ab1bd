// Reads messages, one in each line, with the SDK of CloudEvents, and prints the event of each, or what is wrong with it.
import { HTTP } from "cloudevents";
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body } = JSON.parse(line);
  try {
    const event = HTTP.toEvent({ headers, body });
    event.validate();
    console.log(JSON.stringify({ ...event, data: event.data }));
  } catch (error) {
    console.log(JSON.stringify({ refused: `${error}`, errors: error.errors }));
  }
}
