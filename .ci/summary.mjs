// Prints what failed and the closing line that CI reads, from tap's output.
import { readFileSync } from 'node:fs';

const output = readFileSync(process.argv[2], 'utf8');
const totals = [...output.matchAll(/^# \{ (total: .*) \}$/gm)].at(-1)?.[1] ?? '';
const count = (name) => Number(new RegExp(`${name}: (\\d+)`).exec(totals)?.[1] ?? 0);

for (const [line] of output.matchAll(/^ *not ok .*$/gm)) console.log(line);
const skipped = count('skip') + count('todo');
console.log(
  `${count('pass')} passed, ${count('fail')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
);
if (count('pass') === 0) process.exitCode = 1;
