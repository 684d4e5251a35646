import { once } from 'node:events';
import { connect } from 'node:net';

/** Whether a Unix socket accepts connections: its name is there a moment before it does. */
export async function isListening(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
