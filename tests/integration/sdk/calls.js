// Makes calls with the official SDK: node calls.js BASE_URL < CALLS
//
// CALLS is a JSON array of {"api": "aiSearch.instances.jobs", "method": "get", "args": [...], "iterate": bool}. Prints an
// array with what each gave: {"value": ...}, or {"error": CLASS, "status": ..., "errors": [...]}.
'use strict';

const { default: Cloudflare } = require('cloudflare');

const TIMEOUT = 20_000; // milliseconds

async function collect(pages) {
  const all = [];
  for await (const item of pages) {
    all.push(item);
  }
  return all;
}

async function make(client, { api, method, args, iterate }) {
  const resource = api.split('.').reduce((object, name) => object[name], client);
  try {
    const answer = resource[method](...args);
    return { value: await (iterate ? collect(answer) : answer) };
  } catch (error) {
    return { error: error.constructor.name, status: error.status, errors: error.errors };
  }
}

async function main([baseURL]) {
  const client = new Cloudflare({ baseURL, apiToken: 'dummy-token', maxRetries: 0, timeout: TIMEOUT });
  const calls = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  const results = [];
  for (const call of calls) {
    results.push(await make(client, call));
  }
  console.log(JSON.stringify(results));
}

main(process.argv.slice(2));
