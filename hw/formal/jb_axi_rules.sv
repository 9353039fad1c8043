// The rules that an AXI3 master of this design keeps, as assertions; with Formal set, also what its memory is assumed to keep.
// Used in the proofs and, beside the design, in simulation.
//
// Master: valid and payload stand until accepted; 8-byte aligned addresses; no burst across 4 KB (longer than 16 beats it cannot
// be: the length has 4 bits); data of a burst after its address was first offered, but without waiting until that is accepted, since
// a memory may accept it only with the data; in the order of the addresses, as many beats as were asked for, the last one marked; at
// most Outstanding bursts without an answer.
`default_nettype none

module jb_axi_rules #(
  parameter int Outstanding = 8,
  parameter bit Formal      = 1'b0  // assume that the memory answers only what was asked
) (
  input wire logic        clk_i,
  input wire logic        rst_ni,
  input wire logic        arvalid_i,
  input wire logic        arready_i,
  input wire logic [31:0] araddr_i,
  input wire logic [ 3:0] arlen_i,
  input wire logic [ 5:0] arid_i,
  input wire logic        rvalid_i,
  input wire logic        rready_i,
  input wire logic        rlast_i,
  input wire logic        awvalid_i,
  input wire logic        awready_i,
  input wire logic [31:0] awaddr_i,
  input wire logic [ 3:0] awlen_i,
  input wire logic        wvalid_i,
  input wire logic        wready_i,
  input wire logic [63:0] wdata_i,
  input wire logic [ 7:0] wstrb_i,
  input wire logic        wlast_i,
  input wire logic        bvalid_i,
  input wire logic        bready_i
);
  // What stood unaccepted in the cycle before.
  logic ar_stood_q, aw_stood_q, w_stood_q;
  logic [41:0] ar_q;
  logic [35:0] aw_q;
  logic [72:0] w_q;

  always_ff @(posedge clk_i) begin
    ar_stood_q <= rst_ni && arvalid_i && !arready_i;
    aw_stood_q <= rst_ni && awvalid_i && !awready_i;
    w_stood_q  <= rst_ni && wvalid_i && !wready_i;
    ar_q       <= {araddr_i, arlen_i, arid_i};
    aw_q       <= {awaddr_i, awlen_i};
    w_q        <= {wdata_i, wstrb_i, wlast_i};
  end

  // Lengths of the write bursts whose address has been offered and whose data are not complete.
  logic [3:0] length[16];
  logic [3:0] length_write_q, length_read_q, beat_q;
  logic [4:0] pending_q;   // of them so many
  logic [1:0] late_q;      // so long one has waited for its next beat: all of them are there
  logic [7:0] writes_q;    // accepted write bursts without a response
  logic [7:0] answers_q;   // complete ones without a response
  logic [7:0] reads_q;     // read bursts without their last beat
  logic aw_new, w_end;

  assign aw_new = awvalid_i && !aw_stood_q;
  assign w_end  = wvalid_i && wready_i && wlast_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      length_write_q <= '0;
      length_read_q  <= '0;
      beat_q         <= '0;
      pending_q      <= '0;
      late_q         <= '0;
      writes_q       <= '0;
      answers_q      <= '0;
      reads_q        <= '0;
    end else begin
      if (aw_new) begin
        length[length_write_q] <= awlen_i;
        length_write_q         <= length_write_q + 4'd1;
      end
      if (wvalid_i && wready_i) beat_q <= wlast_i ? '0 : beat_q + 4'd1;
      if (w_end) length_read_q <= length_read_q + 4'd1;
      pending_q <= pending_q + 5'(aw_new) - 5'(w_end);
      late_q    <= pending_q == '0 || wvalid_i ? '0 : late_q + 2'd1;
      writes_q  <= writes_q + 8'(awvalid_i && awready_i) - 8'(bvalid_i && bready_i);
      answers_q <= answers_q + 8'(w_end) - 8'(bvalid_i && bready_i);
      reads_q   <= reads_q + 8'(arvalid_i && arready_i) - 8'(rvalid_i && rready_i && rlast_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      if (ar_stood_q) a_ar_stands : assert (arvalid_i && ar_q == {araddr_i, arlen_i, arid_i});
      if (aw_stood_q) a_aw_stands : assert (awvalid_i && aw_q == {awaddr_i, awlen_i});
      if (w_stood_q) a_w_stands : assert (wvalid_i && w_q == {wdata_i, wstrb_i, wlast_i});
      if (arvalid_i) begin
        a_ar_aligned : assert (araddr_i[2:0] == '0);
        a_ar_boundary : assert ({1'b0, araddr_i[11:3]} + {6'd0, arlen_i} < 10'd512);
        a_ar_outstanding : assert (reads_q < 8'(Outstanding));
      end
      if (awvalid_i) begin
        a_aw_aligned : assert (awaddr_i[2:0] == '0);
        a_aw_boundary : assert ({1'b0, awaddr_i[11:3]} + {6'd0, awlen_i} < 10'd512);
        a_aw_outstanding : assert (writes_q < 8'(Outstanding));
      end
      if (wvalid_i) begin
        a_w_asked : assert (pending_q != '0);
        a_w_last : assert (wlast_i == (beat_q == length[length_read_q]));
        a_w_strobe : assert (wstrb_i != '0);
      end
      a_w_prompt : assert (late_q < 2'd2);
    end
  end

  if (Formal) begin : g_assume
    always_ff @(posedge clk_i) begin
      if (rst_ni) begin
        if (rvalid_i) assume (reads_q != '0);
        if (bvalid_i) assume (answers_q != '0 && writes_q != '0);
      end
    end
  end
endmodule

`default_nettype wire
