import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

import { DaxdError } from '../lib/errno.js';
import type { LatencyHistogram } from '../lib/latency-histogram.js';
import type { Backing, OpenBackingOptions } from './backing.js';
import { deviceNumber } from './device-number.js';
import { type DeviceDaxGeometry, readDeviceDaxGeometry } from './device-dax-sysfs.js';
import { FileNote } from './file-note.js';
import { loadLibpmem } from './libpmem.js';
import { lockBacking } from './lock.js';
import { mapWindows } from './map-windows.js';
import type { Mapping } from './mapping.js';
import { openFile, unlockAndClose } from './open-file.js';
import { type PersistenceKind, Persister, type PersistView } from './persister.js';
import { RawMapping, type RawMemory } from './raw-memory.js';

/** How to open a device-dax node; the last two are for tests. */
export interface OpenDeviceDaxOptions extends OpenBackingOptions {
  /** Where sysfs is mounted, /sys by default. */
  readonly sysfsRoot?: string;
  /** What the dynamic loader is asked for, libpmem.so.1 by default. */
  readonly libpmem?: string;
}

interface DeviceDaxParts {
  readonly path: string;
  readonly handle: FileHandle;
  readonly geometry: DeviceDaxGeometry;
  readonly mapping: Mapping;
  readonly persistView: PersistView | undefined;
  readonly options: OpenDeviceDaxOptions;
}

/**
 * A device-dax node such as /dev/dax0.0: memory and nothing else. It can be mapped, shared
 * and aligned; read, write, fsync and msync on it fail with EINVAL, so none is ever called
 * (drivers/dax/device.c). Stores are made durable by libpmem.
 */
export class DeviceDaxBacking implements Backing {
  readonly path: string;
  readonly kind = 'device-dax';
  readonly sizeBytes: number;
  readonly alignBytes: number;
  readonly readOnly: boolean;
  readonly persistence: PersistenceKind;
  readonly sparse = false;
  readonly created = false;
  readonly mapping: Mapping;
  readonly note: FileNote;
  readonly #handle: FileHandle;
  readonly #persister: Persister;
  #raw: RawMapping | undefined;

  private constructor({ path, handle, geometry, mapping, persistView, options }: DeviceDaxParts) {
    this.path = path;
    this.sizeBytes = geometry.sizeBytes;
    this.alignBytes = geometry.alignBytes;
    this.readOnly = mapping.readOnly;
    this.persistence = persistView ? 'libpmem' : 'none';
    this.mapping = mapping;
    this.#handle = handle;
    // A node has no attributes of users (xattr(7)).
    this.note = new FileNote({ fd: handle.fd, path, name: 'trusted.daxd.leases' });
    // libpmem rounds to cache lines itself.
    const granularityBytes = 1;
    const { clock } = options;
    this.#persister = new Persister({ path, mapping, persistView, granularityBytes, clock });
  }

  /**
   * Opens, locks and maps a character device, if device-dax drives it.
   *
   * @throws DaxdError ENODEV (another driver's node), EOPNOTSUPP (libpmem is missing), EBUSY
   *   (another daxd has it), EINVAL (its geometry), or the errno of open(2) or mmap(2).
   */
  static async open(path: string, options: OpenDeviceDaxOptions): Promise<DeviceDaxBacking> {
    const { readOnly = false, sysfsRoot = '/sys' } = options;
    const handle = await openFile(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    try {
      const stat = await handle.stat();
      if (!stat.isCharacterDevice()) {
        throw new DaxdError('ENODEV', `${path} is not a character device any more`);
      }
      const node = { path, sysfsRoot, ...deviceNumber(stat.rdev) };
      const geometry = await readDeviceDaxGeometry(node);
      lockBacking(handle.fd, path);
      // Without stores there is nothing to make durable, and no need for the library.
      const durable = !readOnly && options.persistence !== 'none';
      const persistView = durable ? loadLibpmem(options.libpmem) : undefined;
      const mapping = mapWindows({ path, handle, length: geometry.sizeBytes, readOnly });
      return new DeviceDaxBacking({ path, handle, geometry, mapping, persistView, options });
    } catch (failure) {
      await unlockAndClose(handle, path);
      throw failure;
    }
  }

  get persistLatency(): LatencyHistogram {
    return this.#persister.latency;
  }

  async persist(offset: number, length: number): Promise<void> {
    await this.#persister.persist(offset, length);
  }

  checkSize(): void {
    // The kernel refuses to resize a device while a driver is bound to it (drivers/dax/bus.c).
  }

  rawMemory(): RawMemory {
    this.#raw ??= new RawMapping(this, this.#handle.fd);
    return this.#raw.memory;
  }

  async close(): Promise<void> {
    await this.#persister.shut();
    await this.#raw?.close();
    await unlockAndClose(this.#handle, this.path);
  }
}
