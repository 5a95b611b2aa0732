/** Messages about options, in the flags of `portico serve`. */

const FLAGS = /^(listen|control|metrics|user|group):/

/** `message` with the flags in place of the options of handlers, and a port to try. */
export function inFlags(message: string): string {
  const text = message
    .replace(FLAGS, '--$1:')
    .replace("(listen: 'systemd')", '(--listen systemd)')
    .replace('set allowedClients as well', 'name its clients: --allow ADDRESS,...')
  const [, flag, host = '', port] = /^(--\w+): '(.*?)(\d+)':/.exec(text) ?? []
  return text.replace(
    /choose another port$/,
    (step) => `${step}: ${flag} ${host}${Number(port) + 1}`,
  )
}
