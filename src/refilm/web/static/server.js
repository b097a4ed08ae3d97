// Asking the server. Every error becomes an Error whose message can be shown.

async function answer(response) {
  const told = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(told.message || `the server answered ${response.status}`);
  return told;
}

export async function ask(path, method = "GET", content = undefined) {
  const body = content === undefined ? undefined : JSON.stringify(content);
  let response;
  try {
    response = await fetch(`/api/${path}`, { method, body });
  } catch {
    throw new Error("the server does not answer; is it still running?");
  }
  return answer(response);
}

// Sends a file; XMLHttpRequest tells how far it is, fetch does not. -> { done: Promise of the film, cancel() }
export function upload(file, onShare) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => onShare(event.total ? event.loaded / event.total : 0);
    request.onload = () => {
      let told = {};
      try { told = JSON.parse(request.responseText); } catch { /* the message below */ }
      if (request.status === 200) resolve(told);
      else reject(new Error(told.message || `the server answered ${request.status}`));
    };
    request.onerror = () => reject(new Error("the upload was cut off; the film may be too large for the server"));
    request.onabort = () => reject(new Error("the upload was cancelled"));
  });
  request.open("POST", `/api/uploads?name=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.send(file);
  return { done, cancel: () => request.abort() };
}

// Listens to all that happens to jobs; connects again by itself.
export function listen(handlers, onConnection) {
  const source = new EventSource("/api/events");
  for (const [name, handle] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  }
  source.onopen = () => onConnection(true);
  source.onerror = () => onConnection(false);
}
