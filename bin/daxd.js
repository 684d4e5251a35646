#!/usr/bin/env node
// Stack traces name lines of src.
process.setSourceMapsEnabled(true);
await import('../dist/bin/main.js');
