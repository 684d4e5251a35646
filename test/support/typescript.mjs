/** Has Node read TypeScript where a test, or a program of one, is run from its source. */
import { extname } from 'node:path';

if (extname(process.argv[1] ?? '') === '.ts') await import('tsx');
