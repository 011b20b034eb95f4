/** ICE as WHIP carries it: servers in Link headers, fragments of descriptions. */

/**
 * The ICE servers in a Link header (RFC 9725, section 4.6). Fetch joins several
 * Link headers with commas. TURN servers without credentials are left out: a
 * peer connection would not begin with them.
 * @param {string|null} header
 * @returns {RTCIceServer[]}
 */
export function parseIceLinks(header) {
  /** @type {RTCIceServer[]} */
  const servers = [];
  for (const [, url, rest] of (header ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[\w*-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^",;\s]+))?)*)/g)) {
    /** @type {Record<string, string>} */
    const params = {};
    for (const [, key, quoted, plain] of rest.matchAll(/;\s*([\w*-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",;\s]+)))?/g)) {
      params[key.toLowerCase()] = quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '';
    }
    if (params.rel !== 'ice-server' || !/^(stun|turn)s?:/.test(url)) continue;
    /** @type {RTCIceServer} */
    const server = { urls: url };
    if (params.username !== undefined) server.username = params.username;
    if (params.credential !== undefined) server.credential = params.credential;
    if (url.startsWith('turn') && !(server.username && server.credential)) continue;
    servers.push(server);
  }
  return servers;
}

/**
 * The servers among those named that are not known yet, or not with these
 * credentials: a server makes new ones for each client and for some minutes.
 * @param {RTCIceServer[]} named
 * @param {RTCIceServer[]} known
 */
export function newServers(named, known) {
  return named.filter((s) => !known.some((k) => k.urls === s.urls && k.username === s.username));
}

/**
 * Those that are known, with what was named last in place of the same before.
 * @param {RTCIceServer[]} known
 * @param {RTCIceServer[]} named
 */
export function withServers(known, named) {
  return [...known.filter((k) => !named.some((s) => s.urls === k.urls)), ...named];
}

const isICE = (line) => /^a=(ice-ufrag|ice-pwd|candidate|end-of-candidates)\b/.test(line);

/**
 * What a description of one media section says about ICE (RFC 8840, section 9).
 * @param {string} sdp
 */
export function iceFragment(sdp) {
  const lines = sdp.split(/\r?\n/).filter((l) => /^(m=|a=mid:)/.test(l) || (isICE(l) && l !== 'a=end-of-candidates'));
  return [...lines, 'a=end-of-candidates', ''].join('\r\n');
}

/**
 * A description with the credentials and candidates of a fragment in place of
 * its own.
 * @param {string} sdp
 * @param {string} fragment
 */
export function withICE(sdp, fragment) {
  const lines = (text) => text.split(/\r?\n/).filter(Boolean);
  return [...lines(sdp).filter((l) => !isICE(l)), ...lines(fragment).filter(isICE), ''].join('\r\n');
}
