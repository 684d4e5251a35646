#!/usr/bin/env node
await import('../dist/bin/main.js');
