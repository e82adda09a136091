// What the official Anthropic SDK for Node.js makes of Gaia: every call's result as one JSON object on standard output.
import Anthropic from '@anthropic-ai/sdk';
import { report } from './report.mjs';

const client = new Anthropic({ apiKey: process.env.GAIA_KEY, baseURL: process.env.GAIA_URL, maxRetries: 0 });
const stranger = new Anthropic({ apiKey: 'sk-ant-not-of-gaia', baseURL: process.env.GAIA_URL, maxRetries: 0 });
const weather = {
  name: 'weather',
  description: 'Tells the weather of a city.',
  input_schema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};

const form = {
  type: 'object',
  properties: { city: { type: 'string' }, degrees: { type: 'integer' } },
  required: ['city', 'degrees'],
  additionalProperties: false,
};
const pixel =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const asking = (model, text, more = {}) => ({
  model,
  max_tokens: 4000,
  messages: [{ role: 'user', content: text }],
  ...more,
});

const scenarios = { models: async () => (await client.models.list()).data.map((model) => model.id) };

for (const [provider, model] of [['claude', 'claude-sonnet-5'], ['openai', 'gpt-5']]) {
  scenarios[`message ${provider}`] = async () => {
    const made = await client.messages.create(asking(model, 'please greet'));
    return { ...made, requestId: made._request_id };
  };
  scenarios[`events ${provider}`] = async () => {
    const kinds = [];
    for await (const event of await client.messages.create(asking(model, 'please greet', { stream: true }))) {
      kinds.push(event.type);
    }
    return kinds;
  };
  scenarios[`stream ${provider}`] = async () => {
    const pieces = [];
    const stream = client.messages.stream(asking(model, 'please greet')).on('text', (text) => pieces.push(text));
    return { final: await stream.finalMessage(), text: pieces.join('') };
  };
  scenarios[`thinking ${provider}`] = () =>
    client.messages.stream(asking(model, 'please think first', { thinking: { type: 'adaptive' } })).finalMessage();
  scenarios[`tools ${provider}`] = async () => {
    const asked = asking(model, 'please use a tool', { tools: [weather] });
    const first = await client.messages.stream(asked).finalMessage();
    const call = first.content.find((block) => block.type === 'tool_use');
    const result = { type: 'tool_result', tool_use_id: call.id, content: '21' };
    asked.messages.push({ role: 'assistant', content: first.content }, { role: 'user', content: [result] });
    return { first, second: await client.messages.create(asked) };
  };
  scenarios[`form ${provider}`] = () =>
    client.messages.create(
      asking(model, 'please fill in a form', { output_config: { format: { type: 'json_schema', schema: form } } }),
    );
  scenarios[`picture ${provider}`] = () => {
    const source = { type: 'base64', media_type: 'image/png', data: pixel };
    const content = [{ type: 'image', source }, { type: 'text', text: 'please greet' }];
    return client.messages.create({ model, max_tokens: 100, messages: [{ role: 'user', content }] });
  };
  scenarios[`refused ${provider}`] = () => client.messages.create(asking(model, 'please refuse the request'));
  scenarios[`overloaded ${provider}`] = () => client.messages.create(asking(model, 'please be overloaded'));
  scenarios[`limited ${provider}`] = () =>
    client.messages.create(asking(model, 'please limit the rate', { stream: true }));
  scenarios[`cut ${provider}`] = () => client.messages.stream(asking(model, 'please cut the stream')).finalMessage();
}
scenarios['runner openai'] = () =>
  client.beta.messages.toolRunner({
    ...asking('gpt-5', 'please use a tool'),
    tools: [{ ...weather, run: async () => '21', parse: (input) => input }],
  });
scenarios['count openai'] = () =>
  client.messages.countTokens({ model: 'gpt-5', messages: [{ role: 'user', content: 'word '.repeat(600) }] });
scenarios['bad key'] = () => stranger.messages.create(asking('gpt-5', 'please greet'));
scenarios['unknown model'] = () => client.messages.create(asking('claude-sonnet-5x', 'please greet'));
scenarios['faulty'] = () => client.messages.create({ model: 'gpt-5', messages: [] });

await report(scenarios, Anthropic);
