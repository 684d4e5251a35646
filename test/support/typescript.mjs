/** Has Node read TypeScript where a test, or a program of one, is run from its source. */
const script = String(process.argv[1]);
if (script.endsWith('.ts')) await import('tsx');
