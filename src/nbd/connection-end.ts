/** Why a connection ended; it unwinds whatever was under way. */
export class ConnectionEnd extends Error {
  override readonly name = 'ConnectionEnd';
}

/** The client left, or somebody cut the connection. */
export class ClientGone extends ConnectionEnd {}

/** The client did what no server goes on after. */
export class ProtocolBreach extends ConnectionEnd {}
