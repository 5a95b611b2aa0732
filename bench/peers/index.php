<?php
// The benchmark application for php-fpm.
$path = $_SERVER['DOCUMENT_URI'];
if ($path === '/hello') {
    header('Content-Type: text/plain; charset=utf-8');
    echo "Hello, world!\n";
} elseif ($path === '/64k') {
    header('Content-Type: application/octet-stream');
    echo str_repeat('portico ', 8192);
} elseif ($path === '/echo') {
    header('Content-Type: application/octet-stream');
    echo file_get_contents('php://input');
} else {
    http_response_code(404);
}
