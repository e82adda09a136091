// What the official OpenAI SDK for Node.js makes of Gaia: every call's result as one JSON object on standard output.
import OpenAI, { toFile } from 'openai';
import { report } from './report.mjs';

const client = new OpenAI({ apiKey: process.env.GAIA_KEY, baseURL: `${process.env.GAIA_URL}/v1`, maxRetries: 0 });
const stranger = new OpenAI({ apiKey: 'sk-not-of-gaia', baseURL: `${process.env.GAIA_URL}/v1`, maxRetries: 0 });
const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'Tells the weather of a city.',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

const form = {
  type: 'object',
  properties: { city: { type: 'string' }, degrees: { type: 'integer' } },
  required: ['city', 'degrees'],
  additionalProperties: false,
};
const pixel =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

const asking = (model, text, more = {}) => ({ model, messages: [{ role: 'user', content: text }], ...more });

const scenarios = { models: async () => (await client.models.list()).data.map((model) => model.id) };

for (const [provider, model] of [['claude', 'claude-sonnet-5'], ['openai', 'gpt-5']]) {
  scenarios[`completion ${provider}`] = () => client.chat.completions.create(asking(model, 'please greet'));
  scenarios[`stream ${provider}`] = async () => {
    const chunks = [];
    const asked = asking(model, 'please greet', { stream: true, stream_options: { include_usage: true } });
    for await (const chunk of await client.chat.completions.create(asked)) chunks.push(chunk);
    return chunks;
  };
  scenarios[`helper ${provider}`] = () =>
    client.chat.completions.stream(asking(model, 'please greet')).finalChatCompletion();
  scenarios[`tools ${provider}`] = async () => {
    const asked = asking(model, 'please use a tool', { tools: [weather] });
    const first = await client.chat.completions.create(asked);
    const { message } = first.choices[0];
    asked.messages.push(message, { role: 'tool', tool_call_id: message.tool_calls[0].id, content: '21' });
    return { first, second: await client.chat.completions.create(asked) };
  };
  scenarios[`streamed tools ${provider}`] = () =>
    client.chat.completions.stream(asking(model, 'please use a tool', { tools: [weather] })).finalChatCompletion();
  scenarios[`form ${provider}`] = () =>
    client.chat.completions.create(
      asking(model, 'please fill the form in', {
        response_format: { type: 'json_schema', json_schema: { name: 'weather', schema: form, strict: true } },
      }),
    );
  scenarios[`picture ${provider}`] = () => {
    const content = [
      { type: 'text', text: 'please greet' },
      { type: 'image_url', image_url: { url: pixel } },
    ];
    return client.chat.completions.create({ model, messages: [{ role: 'user', content }] });
  };
  scenarios[`response ${provider}`] = () => client.responses.create({ model, input: 'please greet' });
  scenarios[`response events ${provider}`] = async () => {
    const kinds = [];
    for await (const event of await client.responses.create({ model, input: 'please greet', stream: true })) {
      kinds.push(event.type);
    }
    return kinds;
  };
  scenarios[`response helper ${provider}`] = () =>
    client.responses.stream({ model, input: 'please greet' }).finalResponse();
  scenarios[`response form ${provider}`] = () =>
    client.responses.create({
      model,
      input: 'please fill the form in',
      text: { format: { type: 'json_schema', name: 'weather', schema: form, strict: true } },
    });
  scenarios[`response picture ${provider}`] = () => {
    const content = [
      { type: 'input_text', text: 'please greet' },
      { type: 'input_image', image_url: pixel, detail: 'auto' },
    ];
    return client.responses.create({ model, input: [{ role: 'user', content }] });
  };
  scenarios[`response tools ${provider}`] = async () => {
    const input = [{ role: 'user', content: 'please look the weather up' }];
    const tools = [{ type: 'function', strict: false, ...weather.function }];
    const first = await client.responses.create({ model, input, tools });
    const calls = first.output.filter((item) => item.type === 'function_call');
    const results = calls.map((call) => ({ type: 'function_call_output', call_id: call.call_id, output: 'rain' }));
    return { first, second: await client.responses.create({ model, input: [...input, ...first.output, ...results], tools }) };
  };
  scenarios[`cut response ${provider}`] = () =>
    client.responses.stream({ model, input: 'please cut the stream' }).finalResponse();
  scenarios[`refused ${provider}`] = () => client.chat.completions.create(asking(model, 'please refuse the request'));
  scenarios[`limited ${provider}`] = () =>
    client.chat.completions.create(asking(model, 'please limit the rate', { stream: true }));
  scenarios[`cut ${provider}`] = async () => {
    const chunks = [];
    const asked = asking(model, 'please cut the stream', { stream: true });
    for await (const chunk of await client.chat.completions.create(asked)) chunks.push(chunk);
    return chunks;
  };
}
scenarios['own response'] = async () => {
  const first = await client.responses.create({ model: 'gpt-5', input: 'please greet' });
  return client.responses.create({ model: 'gpt-5', input: 'please greet', previous_response_id: first.id });
};
scenarios['foreign response'] = () =>
  client.responses.create({ model: 'gpt-5', input: 'please greet', previous_response_id: 'resp_of_somebody' });
scenarios['embeddings'] = () => client.embeddings.create({ model: 'local-embedding', input: ['a cat', 'a dog'] });
scenarios['image'] = () => client.images.generate({ model: 'gpt-image-1.5', prompt: 'a square' });
scenarios['speech'] = async () => {
  const response = await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'Hello, you.' });
  return { type: response.headers.get('content-type'), size: (await response.arrayBuffer()).byteLength };
};
const recording = () => toFile(Buffer.from('RIFF....WAVEfmt ................'), 'a.wav');
scenarios['transcription'] = async () =>
  client.audio.transcriptions.create({
    model: 'whisper-1',
    file: await recording(),
    response_format: 'verbose_json',
    timestamp_granularities: ['word'],
  });
scenarios['streamed transcription'] = async () => {
  const events = [];
  const asked = { model: 'gpt-4o-transcribe', file: await recording(), stream: true };
  for await (const event of await client.audio.transcriptions.create(asked)) events.push(event);
  return events;
};
scenarios['unknown embedder'] = () => client.embeddings.create({ model: 'text-embedding-9', input: 'x' });
scenarios['bad key'] = () => stranger.chat.completions.create(asking('gpt-5', 'please greet'));
scenarios['unknown model'] = () => client.chat.completions.create(asking('gpt-5x', 'please greet'));
scenarios['faulty'] = () => client.chat.completions.create({ model: 'gpt-5', messages: [] });

await report(scenarios, OpenAI);
