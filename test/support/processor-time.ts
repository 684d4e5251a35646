/**
 * Milliseconds of processor time that this process has taken so far. What is measured with it takes
 * as long on a machine that has others to serve.
 */
export function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
