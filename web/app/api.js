/** The server, for pages: with the tab's token. */

import { Api } from '../client/api.js';
import { token } from './token.js';

export const api = new Api({ token });
