// Makes calls with the official SDK: node calls.js BASE_URL TOKEN < CALLS
//
// CALLS is a JSON array of {"api": "aiSearch.instances.jobs", "method": "get", "args": [...], "iterate": bool}. Prints
// an array with what each gave: {"value": ..., "took": SECONDS}, or {"error": CLASS, "status": ..., "errors": [...],
// "took": SECONDS}. The client retries as it does by default.
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

async function main([baseURL, apiToken]) {
  const client = new Cloudflare({ baseURL, apiToken, timeout: TIMEOUT });
  const calls = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  const results = [];
  for (const call of calls) {
    const began = performance.now();
    const result = await make(client, call);
    results.push({ ...result, took: (performance.now() - began) / 1000 });
  }
  console.log(JSON.stringify(results));
}

main(process.argv.slice(2));
