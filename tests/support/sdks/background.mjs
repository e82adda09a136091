// What the official OpenAI SDK for Node.js makes of responses in the background. The provider is done with an input of
// "by itself" as soon as it was asked for the response twice.
import OpenAI from 'openai';
import { report } from './report.mjs';

const client = new OpenAI({ apiKey: process.env.GAIA_KEY, baseURL: `${process.env.GAIA_URL}/v1`, maxRetries: 0 });
const asked = { model: 'gpt-4o', input: 'by itself', background: true };

const scenarios = {
  polled: async () => {
    let response = await client.responses.create(asked);
    while (['queued', 'in_progress'].includes(response.status)) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      response = await client.responses.retrieve(response.id, { include: ['reasoning.encrypted_content'] });
    }
    return { status: response.status, text: response.output_text };
  },
  cancelled: async () => {
    const { id } = await client.responses.create({ ...asked, input: 'for ever' });
    return (await client.responses.cancel(id)).status;
  },
  resumed: async () => {
    const stream = await client.responses.create({ ...asked, stream: true });
    let first;
    for await (const event of stream) {
      first = event;
      break;
    }
    const rest = [];
    let text = '';
    const more = await client.responses.retrieve(first.response.id, { stream: true, starting_after: first.sequence_number });
    for await (const event of more) {
      rest.push(event.type);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    return { first: first.type, rest, text };
  },
  unknown: () => client.responses.retrieve('resp_of_somebody'),
};
await report(scenarios, OpenAI);
