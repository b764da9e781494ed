// Node's own parser (llhttp, strict) for the differential test: the same
// protocol as ours.c.
'use strict';
process.noDeprecation = true;
const { HTTPParser, allMethods } = process.binding('http_parser');

const LARGEST_HEAD = 1 << 20;
const latin1 = (s) => Buffer.from(s, 'latin1').toString('latin1');

function read(bytes, response) {
  const messages = [];
  const parser = new HTTPParser();
  let now = null, end = null;
  parser.initialize(response ? HTTPParser.RESPONSE : HTTPParser.REQUEST, {}, LARGEST_HEAD, 0);
  // Called early, and again for each further part, when there are many fields;
  // and once more for trailers, which we drop.
  parser[HTTPParser.kOnHeaders] = (fields, url) => {
    if (now?.minor !== undefined) return;
    now ??= { fields: [], url: '', body: [] };
    now.fields.push(...fields);
    now.url += url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (major, minor, fields, method, url, status, text, upgrade, keep) => {
    now ??= { fields: [], url: '', body: [] };
    now.fields.push(...(fields ?? []));
    now.url += url ?? '';
    Object.assign(now, { minor, keep, upgrade, status, method: allMethods[method] });
    return 0;
  };
  parser[HTTPParser.kOnBody] = (part) => { now.body.push(Buffer.from(part)); };
  parser[HTTPParser.kOnMessageComplete] = () => {
    const pairs = [];
    for (let i = 0; i < now.fields.length; i += 2)
      pairs.push([latin1(now.fields[i]), latin1(now.fields[i + 1])]);
    messages.push({
      start: response ? [now.status] : [now.method, latin1(now.url)], minor: now.minor, keep: now.keep,
      fields: pairs, body: Buffer.concat(now.body).toString('latin1'),
    });
    if (now.upgrade && (!response || now.status === 101)) end ??= 'upgrade';
    else if (!now.keep && !(now.status >= 100 && now.status < 200)) end ??= 'closed';
    now = null;
  };
  const result = parser.execute(bytes);
  if (result instanceof Error) end ??= `${result.code} ${result.reason ?? ''}`;
  else {
    const last = parser.finish();
    end ??= last instanceof Error ? 'more' : 'end';
  }
  parser.free?.();
  return { messages, end };
}

let waiting = Buffer.alloc(0);
process.stdin.on('data', (data) => {
  waiting = Buffer.concat([waiting, data]);
  const out = [];
  while (waiting.length >= 5) {
    const len = waiting.readUInt32LE(0);
    if (waiting.length < 5 + len) break;
    out.push(JSON.stringify(read(Buffer.from(waiting.subarray(5, 5 + len)), waiting[4] === 1)));
    waiting = waiting.subarray(5 + len);
  }
  if (out.length) process.stdout.write(out.join('\n') + '\n');
});
