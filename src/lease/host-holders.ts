import { CgroupFs } from './cgroup-fs.js';
import type { CgroupRef, Holder, HolderTable, Presence, ProcessRef } from './holder.js';
import { ProcFs } from './proc-fs.js';

/** The holders on this machine. */
export class HostHolders implements HolderTable {
  readonly #processes = new ProcFs();
  readonly #cgroups = new CgroupFs();

  presence(holder: Holder): Presence {
    return holder.cgroup === undefined
      ? this.#processes.presence(holder)
      : this.#cgroups.presence(holder);
  }

  process(pid: number, startTicks: number): ProcessRef {
    return this.#processes.ref(pid, startTicks);
  }

  cgroup(path: string): CgroupRef {
    return this.#cgroups.find(path);
  }
}
