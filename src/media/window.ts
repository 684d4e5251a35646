import type { SharedMap } from './mman.js';
import type { OpenedFile } from './opened-file.js';

/** One stretch of a file or device to map as a Buffer. */
export interface WindowRequest extends SharedMap, OpenedFile {}
