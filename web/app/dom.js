/** The few lines of DOM that the views share. */

/** How many colours there are for speakers: --speaker-0 and so on. */
export const colors = 8;

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] properties; "data" becomes data attributes
 * @param {...(Node|string)} children
 */
export function el(tag, { data = {}, ...props } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

/** Writes only what changes, so that selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows or hides. */
export function show(node, on) {
  node.hidden = !on;
}
