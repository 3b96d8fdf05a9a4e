// Loaded into wrangler before itself: says so on standard error, and stops it, where it turns to another machine.
'use strict';

const fs = require('node:fs');
const Module = require('node:module');
const net = require('node:net');

const { connect } = net.Socket.prototype;
const { _load: load } = Module;

net.Socket.prototype.connect = function (...args) {
  const { host } = Array.isArray(args[0]) ? args[0][0] : args[0];
  if (host !== '127.0.0.1') {
    fs.writeSync(2, `TURNS TO ${host}\n`);
    throw new Error(`not ${host}`);
  }
  return connect.apply(this, args);
};

// What runs Workers is large, and not installed: commands that ask the API load it, but never start it.
Module._load = function (request, ...more) {
  return request === 'workerd' ? {} : load.call(this, request, ...more);
};
