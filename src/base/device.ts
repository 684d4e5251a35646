import { Devres } from './devres.js';

/**
 * Something that attaches and detaches, with what it must undo.
 *
 * @kernel struct device (linux/device.h)
 */
export class Device {
  readonly name: string;
  readonly devres = new Devres();

  constructor(name: string) {
    this.name = name;
  }
}
