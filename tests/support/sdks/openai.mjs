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
