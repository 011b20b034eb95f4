/** Notices that the device may be in another network. */

/**
 * Not every change of navigator.connection is one: where the browser knows the
 * kind of network (Android, ChromeOS) that says it, all else it tells of is
 * measured speed.
 * @param {AbortSignal} signal ends the watching
 * @param {any} [scope] what has the events; the page's own by default
 * @returns {EventTarget} gets an event "wake" when there is a network again, or another
 */
export function networkChanges(signal, scope = globalThis) {
  const wake = new EventTarget();
  const changed = () => wake.dispatchEvent(new Event('wake'));
  scope.addEventListener?.('online', changed, { signal });

  const connection = scope.navigator?.connection;
  let type = connection?.type;
  const look = () => {
    if (connection.type === type) return;
    type = connection.type;
    if (type !== 'none') changed();
  };
  connection?.addEventListener?.('change', look, { signal });
  return wake;
}
